"""What `make bench` measures: a container against crun and runc, and the kernel against a plain ipykernel."""
