"""Examples that the site explains: attention in each backend, encoders, and models that train in under a minute.

Those that train run as programs, such as `python -m attention_ref.examples.translation_torch`.
"""
