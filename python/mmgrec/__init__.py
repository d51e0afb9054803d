"""The thin layer people touch: data sets, training, evaluation, command line."""
