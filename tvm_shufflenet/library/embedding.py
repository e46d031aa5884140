"""The assembler that puts manifest, weights and names of classes into an object file: of ELF and of Mach-O.

    text_of, data_of = texts("linux")
    text_of.format(manifest=MANIFEST, folder=folder)

Both have places for `manifest`, the name that is exported, and `folder`, where the files lie.
"""

from __future__ import annotations

from ..targets import APPLE_LEAST

# The manifest has a second name, hidden, since exported data is reached through a table.
TEXT = """\
        .section .rodata.{manifest}, "a", %progbits
        .globl {manifest}
        .type {manifest}, %object
        .globl tsn_manifest_text
        .hidden tsn_manifest_text
{manifest}:
tsn_manifest_text:
        .incbin "{folder}/manifest"
        .byte 0
        .size {manifest}, . - {manifest}

        .section .note.GNU-stack, "", %progbits
"""
DATA = """\
        .section .rodata.tsn_weights, "a", %progbits
        .balign 64
        .globl tsn_weights_data
        .hidden tsn_weights_data
tsn_weights_data:
        .incbin "{folder}/weights"

        .section .rodata.tsn_labels, "a", %progbits
        .globl tsn_labels_data
        .hidden tsn_labels_data
tsn_labels_data:
        .incbin "{folder}/labels"
        .byte 0

        .section .note.GNU-stack, "", %progbits
"""
# Names in C begin with _ there; hidden ones are called private.
MACHO_TEXT = """\
        .section __TEXT,__const
        .globl _{manifest}
        .globl _tsn_manifest_text
        .private_extern _tsn_manifest_text
_{manifest}:
_tsn_manifest_text:
        .incbin "{folder}/manifest"
        .byte 0
"""
MACHO_DATA = """\
        .section __TEXT,__const
        .globl _tsn_weights_data
        .private_extern _tsn_weights_data
        .p2align 6
_tsn_weights_data:
        .incbin "{folder}/weights"

        .globl _tsn_labels_data
        .private_extern _tsn_labels_data
_tsn_labels_data:
        .incbin "{folder}/labels"
        .byte 0
"""


def texts(system: str) -> tuple[str, str]:
    """The manifest's text, one a network, and that of weights and labels, one a library; see `TargetSpec.system`."""
    if system not in APPLE_LEAST:
        return TEXT, DATA
    version = f"        .build_version {system}, {APPLE_LEAST[system].replace('.', ', ')}\n"  # linkers ask each object
    return version + MACHO_TEXT, version + MACHO_DATA
