"""What boards and their tools are told by ``user_config.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field

from kaldi_quant.frontends.enhancement.zoo.reading import required


@dataclass(frozen=True)
class Stedgeai:
    """ST Edge AI.

    Args:
        version: that is expected, such as 10.0.0.
        optimization: balanced, time or ram.
        on_cloud: whether ST's developer cloud is to be used; it is never called from here.
        path_to_stedgeai: the program, where it is not on the PATH.
    """

    version: str | None = None
    optimization: str = "balanced"
    on_cloud: bool = False
    path_to_stedgeai: str | None = None


@dataclass(frozen=True)
class Tools:
    """ST's programs.

    Args:
        stedgeai: makes C code of networks.
        path_to_cubeIDE: builds the application; its name is ST's.
    """

    stedgeai: Stedgeai = field(default_factory=Stedgeai)
    path_to_cubeIDE: str | None = None


@dataclass(frozen=True)
class Benchmarking:
    """Memory, operations and time.

    Args:
        board: whose name goes into the report, such as STM32N6570-DK.
    """

    board: str = required("STM32N6570-DK")


@dataclass(frozen=True)
class HardwareSetup:
    """Where the network is to run.

    Args:
        serie: of processors, such as STM32N6.
        board: such as STM32N6570-DK.
        stlink_serial_number: of the probe.
    """

    serie: str = "STM32N6"
    board: str = "STM32N6570-DK"
    stlink_serial_number: str | None = None


@dataclass(frozen=True)
class Deployment:
    """The network in an application.

    Args:
        frames_per_patch: frames that an inference denoises.
        lookahead_frames: frames that it sees beside them, before and behind.
        output_silence_threshold: patches of a lower mean power, in dB, become silence.
        c_project_path: folder of the application in C.
        IDE: GCC; its name is ST's.
        verbosity: of the build.
        hardware_setup: where it runs.
        build_conf: configuration of the build.
    """

    frames_per_patch: int = required(30)
    lookahead_frames: int = required(5)
    output_silence_threshold: float = -50.0
    c_project_path: str | None = None
    IDE: str = "GCC"
    verbosity: int = 1
    hardware_setup: HardwareSetup = field(default_factory=HardwareSetup)
    build_conf: str = "N6 Audio Bare Metal"
