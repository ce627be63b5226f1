"""Any image as a kernel: which kernel an image has, and what must be added to it.

    found.py          the values: a kernelspec, a Python, everything that was found
    tree.py           an image's files, read by descriptors; hostile
    around.py         what the image's config says: PATH, home, directory
    elf.py            what a program is built for, from its header
    pythons.py        the Pythons of an image
    kernelspecs.py    the kernelspecs of an image
    finding.py        find(): everything; also without root
    choosing.py       choose(): which kernel the notebook gets
    wheels.py         fetch(): the wheels of a kernel layer; pins.json: which, for each
                      Python (made by tools/kernel_wheels.py)
    unpacking.py      how the image's own Python unpacks them and starts with them
    kernel_layer.py   an image with a kernel layer: made once, then found

Nothing of an image is run here, and nothing of Jupyter is imported. Importing this
package imports nothing.
"""
