"""What vLLM loads of this project: its plugin, the model, the grammar of answers; and the engine without a server."""
