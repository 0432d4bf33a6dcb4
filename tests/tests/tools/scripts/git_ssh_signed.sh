client() {
    person
    ssh-keygen -q -t ed25519 -N '' -C agent -f id
    eval "$(ssh-agent -s)" >/dev/null
    trap 'ssh-agent -k >/dev/null' EXIT
    ssh-add -q id
    rm id
    echo "agent@example.com $(cat id.pub)" >allowed
    git config --global gpg.format ssh
    git config --global user.signingkey "$HOME/id.pub"
    git config --global gpg.ssh.allowedSignersFile "$HOME/allowed"
    git init -q repo
    cd repo
    git commit -q -S --allow-empty -m signed
    git log -1 --format='%G? %GS'
}
