//! Requests of git 2.x and git-lfs 3.x.

use guard_policy::Profile;

use super::{asked, not_read, profile, read};

#[test]
fn a_fetch_reads() {
    read(
        &profile(Profile::Git),
        &[
            "GET /group/project.git/info/refs?service=git-upload-pack\nGit-Protocol: version=2",
            "POST /group/project.git/git-upload-pack\nContent-Type: application/x-git-upload-pack-request\n\n0011command=fetch",
            "POST /project/git-upload-pack\nContent-Type: application/x-git-upload-pack-request\nContent-Encoding: gzip\n\nx",
            "GET /project.git/objects/info/packs",
            "POST /project.git/info/lfs/objects/batch\nContent-Type: application/vnd.git-lfs+json; charset=utf-8\n\n{\"operation\":\"download\",\"transfers\":[\"basic\"],\"objects\":[{\"oid\":\"ab\",\"size\":1}],\"ref\":{\"name\":\"refs/heads/main\"},\"hash_algo\":\"sha256\"}",
        ],
    );
}

#[test]
fn a_push_does_not() {
    let begins = "begins a git push";
    asked(
        &profile(Profile::Git),
        &[
            ("GET /p.git/info/refs?service=git-receive-pack", begins),
            (
                "GET /p.git/info/refs?service=git-upload-pack&service=git-receive-pack",
                begins,
            ),
            ("GET /p.git/info/refs?Service=git-%72eceive-pack", begins),
            ("GET /p.git/info/x/../refs?service=git-receive-pack", begins),
            (
                "POST /p.git/git-receive-pack\nContent-Type: application/x-git-receive-pack-request\n\nx",
                "git push",
            ),
            (
                "POST /p.git/info/lfs/objects/batch\nContent-Type: application/vnd.git-lfs+json\n\n{\"operation\":\"upload\",\"objects\":[]}",
                "Git LFS upload",
            ),
        ],
    );
}

#[test]
fn what_only_looks_like_a_fetch_does_not() {
    not_read(
        &profile(Profile::Git),
        &[
            "POST /git-upload-pack\nContent-Type: application/x-git-upload-pack-request\n\nx",
            "POST /p.git/git-upload-pack\nContent-Type: application/json\n\nx",
            "POST /p.git/git-upload-pack\n\nx",
            "POST /p.git/x%2fgit-upload-pack\nContent-Type: application/x-git-upload-pack-request\n\nx",
            "POST /p.git/../jobs/git-upload-pack\nContent-Type: application/x-git-upload-pack-request\n\nx",
            "POST /p.git/run;/git-upload-pack;x\nContent-Type: application/x-git-upload-pack-request\n\nx",
            "POST /p.git/git-upload-pack\nContent-Type: application/x-git-upload-pack-request\nX-HTTP-Method-Override: DELETE\n\nx",
            "PUT /p.git/git-upload-pack\nContent-Type: application/x-git-upload-pack-request\n\nx",
            "POST /p.git/info/lfs/objects/batch\nContent-Type: application/vnd.git-lfs+json\n\n{\"operation\":\"download\",\"operation\":\"upload\"}",
            "POST /p.git/info/lfs/objects/batch\nContent-Type: application/vnd.git-lfs+json\n\n{\"operation\":\"download\",\"Operation\":\"upload\"}",
            "POST /p.git/info/lfs/objects/batch\nContent-Type: application/vnd.git-lfs+json\nContent-Encoding: gzip\n\n{\"operation\":\"download\"}",
            "POST /p.git/info/lfs/objects/batch\nContent-Type: application/vnd.git-lfs+json; charset=utf-16\n\n{\"operation\":\"download\"}",
        ],
    );
}
