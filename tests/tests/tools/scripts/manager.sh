client() {
    cat >manager.py <<'END'
from multiprocessing import Manager, Pool, Process

def work(shared, name):
    shared[name] = name * 2

if __name__ == "__main__":
    with Manager() as manager:
        shared = manager.dict()
        workers = [Process(target=work, args=(shared, name)) for name in "ab"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(sorted(shared.items()))
    with Pool(2) as pool:
        print(pool.map(len, ["a", "bb"]))
END
    python3 manager.py
}
