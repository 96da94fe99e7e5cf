# Replacement fields as Python 3.12 has them.
x = {"a": 1}
a = f"{x["a"]} # not"  # yes
b = f'{f'{f'{1}#'}#'}#'  # yes
c = f"{
# %% a comment, but no cell
x  # yes
}#"  # yes
d = f"""{
    x["a"]  # yes
# %% a comment, but no cell
:>10} # not {'''
# %% not
'''}
"""  # yes
e = f"{'\n'.join(["#"])}" f'{x!r:{'>'}{10}}'  # yes
g = f"{'''
# %% not
'''}"  # yes
h = f"\N{NUMBER SIGN}{x:\N{NUMBER SIGN}>3}" rf"\N{x}"  # yes
i = f'''{f"""{f"{1:{"2"}}"}"""}# not'''  # yes
j = f"{x:{'#'}^{f"{3}"}}" f"{(lambda: '#')()}" f"{x:=^3}"  # yes
k = f"""{x
:# not
}"""  # yes
l = f"\{x["a"]}#" f'\'{1}#'  # yes
