"""A model that stands in, by the interfaces of Anthropic, OpenAI and Google: it has an agent run one command, and then says what
the agent told it of that."""
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What it has the agent run, and where it is: as it is told.
COMMAND = sys.argv[1] if len(sys.argv) > 1 else "curl -sS -m 20 http://192.0.2.80:8080/file"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8080
STOPPED = ("Failed to connect", "Could not resolve host")
WORDS = {"usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}


def names(tools):
    """The names of tools, however they are wrapped."""
    for tool in tools:
        for declared in tool.get("functionDeclarations", tool.get("tools", [tool])):
            yield (tool.get("name", "") + "." if "tools" in tool else "") + declared.get("name", tool.get("type", ""))


def verdict(request, tools):
    """What the agent has told of the command, and which tools of guard's it has."""
    told = json.dumps(request)
    found = {match for name in tools for match in re.findall(r"guard.*?(why|request|status)$", name)}
    fetched = "fetched" if "text-of-production" in told else "refused" if any(words in told for words in STOPPED) else "nothing"
    hook = "told" if "A person has been asked" in told else "silent"
    return f"command: {fetched}, hook: {hook}, tools: {' '.join(sorted(found))}"


def shell(name, names):
    """The arguments by which an agent's tool takes a command."""
    if name in ("exec_command",):
        return {"cmd": COMMAND}
    if name == "shell":
        return {"command": ["bash", "-c", COMMAND]}
    return {"command": COMMAND, "description": "fetch"}


class Handler(BaseHTTPRequestHandler):
    def events(self, events, named=True):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in events:
            if named:
                self.wfile.write(f"event: {event['type']}\n".encode())
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def json(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def anthropic(self, request):
        tools = [tool.get("name", "") for tool in request.get("tools", [])]
        results = '"tool_result"' in json.dumps(request["messages"])
        if "Bash" in tools and not results:
            block = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(shell("Bash", tools))}
            reason = "tool_use"
        else:
            block = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": verdict(request, tools) if results else "a title"}
            reason = "end_turn"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": []}
        message.update(stop_reason=None, stop_sequence=None, usage={"input_tokens": 1, "output_tokens": 1})
        if not request.get("stream"):
            message.update(content=[{"type": "text", "text": "a title"}], stop_reason="end_turn")
            return self.json(message)
        return self.events([
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ])

    def openai(self, request):
        tools = list(names(request.get("tools", [])))
        if any(item.get("type", "").endswith("call_output") for item in request["input"]):
            text = verdict(request["input"], tools)
            item = {"type": "message", "role": "assistant", "id": "m1", "content": [{"type": "output_text", "text": text}]}
        else:
            name = next(name for name in ("exec_command", "shell_command", "shell") if name in tools)
            item = {"type": "function_call", "id": "f1", "call_id": "c1", "name": name}
            item["arguments"] = json.dumps(shell(name, tools))
        return self.events([
            {"type": "response.created", "response": {"id": "r1"}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {"id": "r1", "output": [], **WORDS}},
        ])

    def google(self, request):
        tools = list(names(request.get("tools", [])))
        if "functionResponse" in json.dumps(request["contents"]):
            part = {"text": verdict(request["contents"], tools)}
        elif "run_shell_command" in tools:
            part = {"functionCall": {"name": "run_shell_command", "args": shell("run_shell_command", tools)}}
        else:
            part = {"text": "{}"}
        answer = {
            "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
        }
        if "streamGenerateContent" in self.path:
            return self.events([answer], named=False)
        return self.json(answer)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        print(self.path, body.decode(errors="replace"), file=sys.stderr, flush=True)
        if "/v1/messages" in self.path and "count_tokens" not in self.path:
            self.anthropic(json.loads(body))
        elif self.path.endswith("/responses"):
            self.openai(json.loads(body))
        elif "enerateContent" in self.path:
            self.google(json.loads(body))
        else:
            self.json({"input_tokens": 1, "totalTokens": 1})

    def do_GET(self):
        if self.path == "/file":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"text-of-" b"production\n")
        else:
            self.json({"data": [], "models": []})

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("0.0.0.0", PORT), Handler)
print("ready", flush=True)
server.serve_forever()
