"""What a notebook's cells write into its folder, and the way out of the container.

    names.py     names that stay inside, each with the program that would run or read it
    survey.py    what lies in the upper directory of the overlay over the folder
    record.py    the files that this notebook has made; it may change and remove those
    plan.py      from all that to actions, and to what stays, with the reason (pure)
    folder.py    the folder on the host, by descriptors; perform.py acts there
    hand_out.py  one container's: at a cell's end, while it runs, at its own end
    wording.py   the lines that a person reads

All that the container has written is hostile: it is opened without following a link,
checked by fstat(2) of what was opened, and bounded.
"""
