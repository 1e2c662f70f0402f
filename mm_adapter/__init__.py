"""The coach: frozen encoders, mappers, a Llama-architecture language model, its training and its use."""
