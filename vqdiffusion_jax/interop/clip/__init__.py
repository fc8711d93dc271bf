"""CLIP in files: OpenAI's, and Hugging Face's folders."""
