"""Any image as a kernel: which kernel an image has, and what has to be added to one that has none.

    found.py          the values: a kernelspec, a Python, all that was found
    tree.py           an image's files, read by descriptors; hostile
    around.py         what the image's config says: PATH, home, directory
    elf.py            what a program is made for, from its first bytes
    pythons.py        the Pythons of an image
    kernelspecs.py    the kernelspecs of an image
    finding.py        find(): all of it; without root, too
    choosing.py       choose(): which kernel the notebook gets
    wheels.py         fetch(): the wheels of a kernel layer; pins.json: which, for each Python (made by tools/kernel_wheels.py)
    unpacking.py      how the image's own Python unpacks them, and is started then

Nothing of an image is run here, and nothing of Jupyter is imported. Importing this package imports nothing.
"""
