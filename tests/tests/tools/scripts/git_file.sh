client() {
    person
    git init -q --bare origin.git
    git clone -q "file://$HOME/origin.git" clone 2>/dev/null
    cd clone
    echo text >file
    git add file
    git commit -qm first
    git push -q origin HEAD:main
    git clone -q "file://$HOME/origin.git" ../other
    cat ../other/file
    git -C ../other log --format=%s
}
