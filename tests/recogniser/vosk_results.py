"""Prints what Vosk hears: ``python vosk_results.py MODEL-FOLDER ALTERNATIVES PIECE WAV...``, a line of JSON for each.

A program of its own, because vosk's library does not load beside torch and OpenFst in one process.
"""

import json
import sys
import wave

import vosk


def main() -> None:
    vosk.SetLogLevel(-1)
    model = vosk.Model(sys.argv[1])
    for path in sys.argv[4:]:
        with wave.open(path) as stream:
            recognizer = vosk.KaldiRecognizer(model, stream.getframerate())
            recognizer.SetWords(True)
            recognizer.SetMaxAlternatives(int(sys.argv[2]))
            found = []
            while audio := stream.readframes(int(sys.argv[3])):
                is_end = bool(recognizer.AcceptWaveform(audio))
                found.append([is_end, json.loads(recognizer.Result() if is_end else recognizer.PartialResult())])
        print(json.dumps([*found, [True, json.loads(recognizer.FinalResult())]]))


if __name__ == "__main__":
    main()
