"""What stands in front of vLLM: takes plain videos and poses, speaks OpenAI's protocol, and has a page to try it."""
