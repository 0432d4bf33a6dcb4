# Reads `/prod` over one connection until that ends; with `own`, 20 times `/`. Prints how it ended, and after how many answers.
import http.client, sys

own = "own" in sys.argv
count, how = 0, "as it wished"
client = http.client.HTTPConnection("127.0.0.1", 7080, timeout=30)
try:
    client.connect()
    client.auto_open = 0
    while not own or count < 20:
        client.request("GET", "/" if own else "/prod")
        answer = client.getresponse()
        answer.read()
        if answer.status != 200:
            how = f"status {answer.status}"
            break
        count += 1
except Exception as error:
    how = type(error).__name__
print(f"ended: {how}, after {count}", flush=True)
