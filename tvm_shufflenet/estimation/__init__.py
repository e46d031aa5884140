"""What code costs on an Arm core, without the board: counted in an emulator, priced by models.

    counting      any AArch64 program runs under QEMU, with every block counted (`plugin.c`)
    pricing       LLVM's scheduling model of the core gives each block's cycles
    cores         the cores: model, multiply-adds per cycle, caches, clocks
    estimates     a compiled network's library, run by `runner.c`: figures for each kernel
    instructions, tools: what these rest on

It is a model: no TLB, no prefetcher, no wrong guesses of branches.  The same file costs the same on
every run and machine that has the same version of LLVM.
"""
