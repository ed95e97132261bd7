"""PESQ in numpy, for signals that are aligned in time: ITU-T P.862 with P.862.1 and P.862.2.

Sources: ITU-T Recommendation P.862, "Perceptual evaluation of speech quality", 2001, section 10, with P.862.1 (2003)
and P.862.2 (2007); J. Beerends, A. Hekstra, A. Rix and M. Hollier, "PESQ, the new ITU standard for end-to-end speech
quality assessment, part II: psychoacoustic model", 2002; the tables of bands as in ``torch-pesq`` (MIT licence). What
these leave open, such as how ends are padded, is as in ITU-T's program, which was read for it. That program's owners,
OPTICOM and Psytechnics, claim rights to the algorithm, too: see the notice in the package pesq.

What P.862 has beyond this is the search for delays that change from utterance to utterance: enhancement keeps the time
of what it is given.
"""
