# Reads `/prod` over one connection until that ends; with `own`, 20 times `/`, and with `on` until that ends. Prints `began` with the first
# answer; and how it ended, and after how many.
import http.client, sys, time

own, on = "own" in sys.argv, "on" in sys.argv
count, how = 0, "as it wished"
client = http.client.HTTPConnection("127.0.0.1", 7080, timeout=30)
try:
    client.connect()
    client.auto_open = 0
    while not own or count < 20:
        client.request("GET", "/" if own or on else "/prod")
        answer = client.getresponse()
        answer.read()
        if answer.status != 200:
            how = f"status {answer.status}"
            break
        count += 1
        if count == 1:
            print("began", flush=True)
        if on:
            time.sleep(0.02)
except Exception as error:
    how = type(error).__name__
print(f"ended: {how}, after {count}", flush=True)
