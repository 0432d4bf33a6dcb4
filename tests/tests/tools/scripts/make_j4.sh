client() {
    for at in 1 2 3 4; do echo "int f$at(void) { return $at; }" >"f$at.c"; done
    echo 'int f1(void), f2(void), f3(void), f4(void); int main(void) { return f1() + f2() + f3() + f4() - 10; }' >main.c
    printf 'app: main.o f1.o f2.o f3.o f4.o\n\tcc -o $@ $^\n%%.o: %%.c\n\tcc -c -o $@ $<\n' >Makefile
    make -s -j4
    ./app && echo built
}
