"""The formats of /proc/PID/*, each parsed once for all readers of processes. Pure: text in, records out; nothing is read here.

Sources: Documentation/filesystems/proc.rst (sections 1.1 and 3.2), fs/proc/task_mmu.c, fs/proc/array.c; proc_pid_maps(5) and the like.
"""
