# Reads `/` at 127.0.0.1:7080, and writes there over the same connection. Prints `began` with the first answer, and how the write ended: the
# status, and what was answered.
import http.client

client = http.client.HTTPConnection("127.0.0.1", 7080, timeout=60)
try:
    client.connect()
    client.auto_open = 0
    client.request("GET", "/")
    client.getresponse().read()
    print("began", flush=True)
    client.request("POST", "/jobs")
    answer = client.getresponse()
    text = answer.read().decode().replace("\n", " ")
    how = f"status {answer.status}, {text}"
except Exception as error:
    how = type(error).__name__
print(f"ended: {how}", flush=True)
