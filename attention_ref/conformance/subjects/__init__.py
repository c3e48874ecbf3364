"""Subjects: functions in this process, programs in any language, folders of results, and the rooms."""
