# Where a comment is a comment, as every supported Python sees it.
"""Module docstring.

# %% in the docstring
"""
a = '# not'  # %% trailing
b = "# not \" # not"  # yes
c = r'\'# not'  # yes
d = b"#" rb'#' Rb"#" bR'#'  # prefixes
dd = u'#' U"#"  # yes
e = '''# %%
# %% not
''' """# not
# %% not \""" # not
"""  # yes
f = f"#{a}#" + F'{a!r:>{len("#")}}'  # yes
g = rf"\{a}#" fr'{a}\'#'  # yes
h = f"{{#}}{a}{{"  # yes
i = f"""
# %% not {a}
{a:#>{len(b)}} '''#'''
"""  # yes
j = 'continued \
# %% not'  # yes
k = "\N{NUMBER SIGN}" f"\N{NUMBER SIGN}#{a}"  # yes
l = f"{a:{'>'}{20}}" f'{a["x"] if 0 else "#"}'  # yes
m = '"""' + "'''" + '"' "'"  # yes
n = ''  # empty
o = "" '' """"""  ''''''  # empty ones
p = """ends with a quote\""""  # yes
q = 0xdef if 1else 2  # numbers that look like words
xf = {'x': 1}['x']  # xf'' is no prefix
r = f'{a:%H:%M:%S}' f"{a=}" f'{a!s:^{1}.{2}}'  # yes
s = f'{(lambda x: "#")(1)}' f'{ {"#": 1}["#"] }'  # yes
