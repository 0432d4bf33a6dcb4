# Signs with keys that agents keep, which are started here. Says what is signed.
set -eu
cd "$HOME"
trap 'ssh-agent -k >/dev/null; gpgconf --kill gpg-agent' EXIT
eval "$(ssh-agent -s -a "$HOME/agent")" >/dev/null
ssh-keygen -q -t ed25519 -N '' -f key
ssh-add -q key
# The agent alone has it from here on.
rm key
echo text >text
ssh-keygen -q -Y sign -n file -f key.pub text
test -s text.sig && echo ssh
gpg --batch --quiet --passphrase '' --quick-generate-key 'Agent <agent@example.com>' ed25519 sign never
gpg --batch --quiet --output gpg.sig --detach-sign text
gpg --batch --quiet --verify gpg.sig text && echo gpg
git init -q repo
cd repo
git config user.name Agent
git config user.email agent@example.com
git commit -q --allow-empty -S -m one
git verify-commit HEAD && echo git by gpg
git -c gpg.format=ssh -c user.signingkey="$HOME/key.pub" commit -q --allow-empty -S -m two
git cat-file commit HEAD | grep -q 'BEGIN SSH SIGNATURE' && echo git by ssh
