"""What tuning has found, in `tuning_logs/`: kept, read again, and the best of each kernel.

- `file`: A file of lines that several processes read, append to and replace at the same time.
- `kernels`: The kernels that records name by text, which need not name one of today.
- `keys`: by what a record is found again: the kernel that it is of, and the code that this kernel became.
- `lines`: what a line of a file of records must be: each field's type and range, so that nothing else trusts a file
  blindly.
- `remembered`: What the present code makes of the kernels that records name, remembered between runs.
- `store`: what tuning found out: lines of JSON in `FOLDER/TARGET/records.jsonl`, one for each candidate tried.
"""
