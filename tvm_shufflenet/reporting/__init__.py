"""What is known of a file or a run, shown: as facts, traces, plots and pages.

- `facts`: what a library, a checkpoint or a model holds.
- `trace`: a profile in Chrome's trace event format.
- `subjects`, `rivals`: what a report is about, from networks, libraries, profiles and benchmarks.
- `kernel_notes`: the kernel and the time of each layer, for an ONNX model.
- `pictures`, `units`, `style`, `page`: the report as one page of HTML.
"""
