"""What can be judged: functions of this process, programs in any language, folders of results, and rooms by name."""
