"""Other inference engines, at full strength: fp32, one thread, batch 1, their own recommended options.

Each file named after an engine writes a network of ours in its format (`export`) and runs it (`load`).

    folded      the description of a network as any engine's optimiser would leave it
    onnx_model  the same as an ONNX model, which some engines read or convert
    run         runs one engine on one picture, here or in the emulated AArch64
    install     the engines' wheels for both
    board       the processor that an engine sees in the emulator
    counted     one inference of an engine, block by block
"""

# Of each engine: its name in tables, and its distribution on PyPI.
RIVALS = {
    "ncnn": ("ncnn", "ncnn"),
    "mnn": ("MNN", "MNN"),
    "onnxruntime": ("ONNX Runtime", "onnxruntime"),
    "litert": ("LiteRT", "ai-edge-litert"),
}
