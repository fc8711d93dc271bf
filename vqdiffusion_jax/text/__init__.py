"""Text to token ids."""

from .tokenizer import Tokenizer, Vocabulary, clean_text

__all__ = ["Tokenizer", "Vocabulary", "clean_text"]
