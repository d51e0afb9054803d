"""What a server keeps of models that it no longer uses: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmgrec.profiling import serve_world

MEGABYTE = 1 << 20
RELOADS = Path(__file__).parent.parent / "shared" / "reload_script.py"

MAPPED = """
import ctypes, numpy as np
from mmgrec.serving import heap

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
heap.keep_large_memory_apart()
for _ in range(2):
    np.empty(16 << 20, np.uint8)  # freed: from here on glibc would take less from its heap
before = mallinfo()
array = np.empty(1 << 20, np.uint8)
assert mallinfo().hblks == before.hblks + 1, "it came from the heap"
heap.give_back()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_large_memory_is_never_taken_from_a_heap() -> None:
    subprocess.run([sys.executable, "-P", "-c", MAPPED], check=True, timeout=120)


def test_sixty_reloads_take_no_more_memory_than_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_world, "ITEMS", 20_000)
    with serve_world.random_run() as (run, _):
        size = sum(file.stat().st_size for file in run.iterdir())
        command = [sys.executable, "-P", str(RELOADS), str(run)]
        done = subprocess.run(command, check=True, timeout=240, capture_output=True, text=True)
    memory = json.loads(done.stdout)
    # Kept models would be forty; what one takes beside its files is more than a tenth of them.
    assert size > 4 * MEGABYTE
    assert max(memory[1:]) - memory[0] < 3 * MEGABYTE, memory
