"""For gdb: runs a program and writes down, once each, the functions that it calls.

A breakpoint lies on each function until it is called first. They are not gdb's own, of which twenty thousand
would be too slow.
"""

import os

import gdb

for setting in ("pagination off", "confirm off", "print thread-events off", "auto-solib-add off"):
    gdb.execute(f"set {setting}")
gdb.execute("handle SIGPIPE nostop noprint pass")
gdb.execute("starti")
process = gdb.selected_inferior()
program = os.path.realpath(gdb.current_progspace().filename)
with open(f"/proc/{process.pid}/maps") as maps:
    base = next(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(program))

names = {}
with open(os.environ["SYMBOLS"]) as symbols:
    for line in symbols:
        words = line.split()
        if len(words) == 4 and words[2] in "tT":
            names[base + int(words[0], 16)] = words[3]
first_bytes = {}
for address in names:
    first_bytes[address] = bytes(process.read_memory(address, 1))
    process.write_memory(address, b"\xcc")

with open(os.environ["CALLED"], "w", buffering=1) as called:
    while process.pid:
        gdb.execute("continue", to_string=True)
        if gdb.selected_thread() is None:
            break
        address = int(gdb.parse_and_eval("$pc")) - 1
        if address in names:
            print(names[address], file=called)
            process.write_memory(address, first_bytes[address])
            gdb.execute(f"set $pc = {address}")
