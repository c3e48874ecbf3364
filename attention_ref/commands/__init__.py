"""The commands of `attention-ref`, one file each."""
