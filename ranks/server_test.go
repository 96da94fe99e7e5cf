package ranks

func serverMain() {}
