from types import SimpleNamespace as ConsumerConfig  # noqa: F401
