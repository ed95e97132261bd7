"""Prints what vosk recognises: ``python vosk_words.py MODEL-FOLDER WAV...``, one line of words for each wav.

A program of its own, because vosk's library does not load beside torch and OpenFst in one process.
"""

import json
import sys
import wave

import vosk


def main() -> None:
    vosk.SetLogLevel(-1)
    model = vosk.Model(sys.argv[1])
    for path in sys.argv[2:]:
        with wave.open(path) as stream:
            recognizer = vosk.KaldiRecognizer(model, stream.getframerate())
            # The words of the best path; by default it gives those of the least expected errors.
            recognizer.SetMaxAlternatives(1)
            recognizer.AcceptWaveform(stream.readframes(stream.getnframes()))
        print(json.loads(recognizer.FinalResult())["alternatives"][0]["text"].strip())


if __name__ == "__main__":
    main()
