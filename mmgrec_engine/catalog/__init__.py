"""The catalogue as a searchable thing: trie, prefixes, node vectors, filters, ids."""
