"""A process of its own around libespeak-ng: reads requests, writes sound and exact phoneme times.

Run as a script by ``enliven.toonworld.espeak``; never imported, so the GPL-3 library stays outside the package.
Each line of standard input is ``{"text", "voice", "speed", "pitch"}``. Each answer is one JSON line, either
``{"error"}`` or ``{"rate", "bytes", "phones": [[symbol, sample], ...]}`` followed by that many bytes of 16-bit sound.
"""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

RETRIEVAL, PHONEME_EVENTS_IN_IPA, DO_NOT_EXIT = 1, 0x3, 0x8000
CHARACTERS_UTF8, END_PAUSE = 0x1, 0x1000
SPEED, PITCH = 1, 3
LIST_END, PHONEME = 0, 7


class Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h; the union at its end is read as eight bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("symbol", ctypes.c_ubyte * 8),
    )


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


class Synthesizer:
    """libespeak-ng, collecting sound and phoneme events."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = self.library.espeak_Initialize(RETRIEVAL, 0, None, PHONEME_EVENTS_IN_IPA | DO_NOT_EXIT)
        if self.rate <= 0:
            raise OSError("libespeak-ng found no voice data")
        self.library.espeak_Info.restype = ctypes.c_char_p
        data = ctypes.c_char_p()
        self.library.espeak_Info(ctypes.byref(data))
        self.variants = Path((data.value or b"").decode()) / "voices" / "!v"
        self.sound = bytearray()
        self.phones: list[tuple[str, int]] = []
        self.callback = Callback(self._collect)  # must outlive every call into the library
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, sound: Any, count: int, events: Any) -> int:
        if sound and count:
            self.sound += ctypes.string_at(sound, 2 * count)
        index = 0
        while events[index].type != LIST_END:
            if events[index].type == PHONEME:
                symbol = bytes(events[index].symbol).split(b"\0")[0].decode("utf-8", "ignore")
                self.phones.append((symbol, events[index].sample))
            index += 1
        return 0

    def speak(self, text: str, voice: str, speed: int, pitch: int) -> None:
        """Fill ``sound`` and ``phones``; raises ValueError where the library would go on with another voice."""
        self.sound.clear()
        self.phones.clear()
        variant = voice.partition("+")[2]
        # The library answers "fine" to an unknown variant and speaks with the default one.
        if variant and not (self.variants / variant).is_file():
            raise ValueError(f"no voice variant {variant!r} in {self.variants}")
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"no voice {voice!r}")
        self.library.espeak_SetParameter(SPEED, speed, 0)
        self.library.espeak_SetParameter(PITCH, pitch, 0)
        encoded = text.encode()
        status = self.library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARACTERS_UTF8 | END_PAUSE, None, None)
        if status or self.library.espeak_Synchronize():
            raise ValueError(f"could not speak {text!r}")


def serve() -> None:
    """Answer requests until standard input ends."""
    output = sys.stdout.buffer
    try:
        synthesizer = Synthesizer()
    except OSError as error:
        output.write(json.dumps({"error": str(error), "missing": True}).encode() + b"\n")
        return
    output.write(b'{"ready": true}\n')
    output.flush()
    for line in sys.stdin:
        try:
            synthesizer.speak(**json.loads(line))
        except ValueError as error:
            output.write(json.dumps({"error": str(error)}).encode() + b"\n")
        else:
            size = len(synthesizer.sound)
            header = {"rate": synthesizer.rate, "bytes": size, "phones": synthesizer.phones}
            output.write(json.dumps(header).encode() + b"\n" + synthesizer.sound)
        output.flush()


if __name__ == "__main__":
    serve()
