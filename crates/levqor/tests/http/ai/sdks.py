"""Calls of the official SDKs against the gateway. Arguments: its address, that of one whose budget is spent, a key of each, the mock's address."""

import asyncio
import json
import sys
import urllib.request

import anthropic
import openai

RICH, POOR, KEY, POOR_KEY, MOCK = sys.argv[1:]
SAID = "This is what a mock model says to: Hello"
HELLO = [{"role": "user", "content": "Hello"}]


def faults(*names):
    body = json.dumps({"next": names}).encode()
    urllib.request.urlopen(urllib.request.Request(MOCK + "/_mock/faults", body, {"content-type": "application/json"})).read()


def raised(kind, call, status=None):
    try:
        call()
    except kind as error:
        if status is not None:
            assert error.status_code == status, error
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def chats():
    client = openai.OpenAI(base_url=RICH + "/v1", api_key=KEY)
    for model in ["openai/gpt-6-sol", "gpt-6-sol", "anthropic/claude-sonnet-5", "gemini/gemini-3.5-flash"]:
        answer = client.chat.completions.create(model=model, messages=HELLO, max_completion_tokens=100)
        assert answer.choices[0].message.content == SAID, answer
        assert answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens > 0
        assert float(answer.usage.cost_usd) > 0

        stream = client.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == SAID, text
        assert chunks[-1].usage.completion_tokens > 0 and float(chunks[-1].usage.cost_usd) > 0

    raw = client.chat.completions.with_raw_response.create(model="gpt-6-sol", messages=HELLO, user="u-1")
    assert float(raw.headers["x-levqor-cost-usd"]) > 0 and raw.headers["x-levqor-call"]
    assert "openai/gpt-6-sol" in [model.id for model in client.models.list()]

    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    history = HELLO + [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
    ]
    for model in ["gpt-6-sol", "anthropic/claude-sonnet-5", "gemini/gemini-3.5-flash"]:
        client.chat.completions.create(model=model, messages=history, tools=[tool], tool_choice="required", stop=["END"], top_p=0.5)
    one = {"model": "gpt-6-sol", "messages": HELLO, "extra_headers": {"Idempotency-Key": "sdk-1"}}
    assert client.chat.completions.create(**one) == client.chat.completions.create(**one)
    replayed = [list(client.chat.completions.create(**one | {"stream": True, "extra_headers": {"Idempotency-Key": "sdk-2"}})) for _ in range(2)]
    assert replayed[0] == replayed[1]
    raised(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**one | {"seed": 1}))
    assert client.models.retrieve("openai/gpt-6-sol").id == "openai/gpt-6-sol"
    raised(openai.NotFoundError, lambda: client.models.retrieve("openai/gpt-7"))

    raised(openai.BadRequestError, lambda: client.chat.completions.create(model="gpt-6-sol", messages=HELLO, web_search_options={}))
    raised(openai.NotFoundError, lambda: client.chat.completions.create(model="gpt-7", messages=HELLO))
    raised(openai.UnprocessableEntityError, lambda: client.chat.completions.create(model="openai/gpt-7", messages=HELLO))
    raised(openai.NotFoundError, lambda: client.embeddings.create(model="gpt-6-sol", input="x"))
    wrong = openai.OpenAI(base_url=RICH + "/v1", api_key="wrong")
    raised(openai.AuthenticationError, lambda: wrong.chat.completions.create(model="gpt-6-sol", messages=HELLO))

    faults("429", "429", None)
    assert client.chat.completions.create(model="gpt-6-sol", messages=HELLO).choices, "it tries again by itself"
    faults("429")
    raised(openai.RateLimitError, lambda: client.with_options(max_retries=0).chat.completions.create(model="gpt-6-sol", messages=HELLO))
    faults("cut")
    raised(openai.InternalServerError, lambda: client.chat.completions.create(model="gpt-6-sol", messages=HELLO))
    for model in ["gpt-6-sol", "anthropic/claude-sonnet-5"]:
        faults("cut")
        raised(openai.APIError, lambda: list(client.chat.completions.create(model=model, messages=HELLO, stream=True)))

    poor = openai.OpenAI(base_url=POOR + "/v1", api_key=POOR_KEY)
    error = raised(openai.APIStatusError, lambda: poor.chat.completions.create(model="gpt-6-sol", messages=HELLO), 402)
    assert error.code == "budget_exceeded" and "max-cost-per-day" in error.message, error
    assert error.response.headers["x-levqor-limit-usd"] == "0.0001"


def messages():
    client = anthropic.Anthropic(base_url=RICH, api_key=KEY)
    for model in ["anthropic/claude-sonnet-5", "claude-sonnet-5", "openai/gpt-6-sol"]:
        answer = client.messages.create(model=model, messages=HELLO, max_tokens=100, system="Be brief")
        assert answer.content[0].text == SAID, answer
        assert answer.stop_reason == "end_turn" and answer.usage.output_tokens > 0

        with client.messages.stream(model=model, messages=HELLO, max_tokens=100) as stream:
            assert "".join(stream.text_stream) == SAID
            final = stream.get_final_message()
        assert final.stop_reason == "end_turn" and final.usage.output_tokens > 0, final

    bearer = anthropic.Anthropic(base_url=RICH, api_key=None, auth_token=KEY)
    assert bearer.messages.create(model="claude-sonnet-5", messages=HELLO, max_tokens=9).content
    assert "anthropic/claude-sonnet-5" in [model.id for model in client.models.list()]

    assert client.models.retrieve("anthropic/claude-sonnet-5").max_tokens > 0
    raised(anthropic.NotFoundError, lambda: client.models.retrieve("claude-nothing"))
    for model in ["claude-sonnet-5", "openai/gpt-6-sol"]:
        counted = client.messages.count_tokens(model=model, messages=HELLO, system="Be brief")
        assert counted.input_tokens >= client.messages.create(model=model, messages=HELLO, system="Be brief", max_tokens=9).usage.input_tokens

    search = {"type": "web_search_20250305", "name": "web_search"}
    ask = lambda **more: client.messages.create(**({"model": "claude-sonnet-5", "messages": HELLO, "max_tokens": 9} | more))
    raised(anthropic.BadRequestError, lambda: ask(tools=[search]))
    raised(anthropic.NotFoundError, lambda: ask(model="claude-nothing"))
    wrong = anthropic.Anthropic(base_url=RICH, api_key="wrong")
    raised(anthropic.AuthenticationError, lambda: wrong.messages.create(model="claude-sonnet-5", messages=HELLO, max_tokens=9))
    faults("529", None)
    assert ask().content, "it tries again by itself"

    def streamed():
        with client.messages.stream(model="claude-sonnet-5", messages=HELLO, max_tokens=100) as stream:
            list(stream.text_stream)

    faults("cut")
    raised(anthropic.APIError, streamed)

    poor = anthropic.Anthropic(base_url=POOR, api_key=POOR_KEY)
    error = raised(anthropic.APIStatusError, lambda: poor.messages.create(model="claude-sonnet-5", messages=HELLO, max_tokens=100), 402)
    assert error.body["error"]["type"] == "billing_error", error.body


async def many():
    client = openai.AsyncOpenAI(base_url=RICH + "/v1", api_key=KEY)
    answers = await asyncio.gather(*[client.chat.completions.create(model="gpt-6-sol", messages=HELLO) for _ in range(10)])
    assert all(answer.choices[0].message.content == SAID for answer in answers)


chats()
messages()
asyncio.run(many())
print("all fine")
