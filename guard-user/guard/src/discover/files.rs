//! `guard discover --dismiss-file`: a person says that nobody has to know what is in an encrypted file, or behind a link, as long as it
//! is that one.

use std::path::{Path, PathBuf};

use guard_discover::LINK;
use serde::Serialize;

use super::Keeping;
use super::dismissals::{Dismissals, DismissedSeal, SealedFile};
use super::items::{Discovered, Unread};
use crate::error::CliError;
use crate::render::page::{Page, STRONG};
use crate::render::time::Clock;
use guard_proto::Failure;

/// What was said of an encrypted file.
#[derive(Debug, Serialize)]
pub(super) struct DismissedFileNow {
    #[serde(flatten)]
    unread: Unread,
    /// Who keeps it.
    #[serde(skip)]
    kept: String,
}

/// An encrypted file of which somebody has to know what is in it, after all.
#[derive(Debug, Serialize)]
pub(super) struct WithdrawnFile {
    file: String,
    /// SHA-256 of the bytes that it was said of.
    withdrawn: Vec<String>,
}

impl Keeping<'_> {
    /// Keeps of each that nobody has to know what is in it.
    pub(super) fn dismissed_files(
        &self,
        which: &[PathBuf],
        all: &Discovered,
    ) -> Result<Vec<DismissedFileNow>, CliError> {
        let sealed = which.iter().map(|file| self.sealed(file, all));
        // All of them are there before any is kept.
        let sealed: Vec<_> = sealed.collect::<Result<_, _>>()?;
        let kept = sealed.into_iter();
        let kept = kept.map(|(unread, sha256)| self.dismiss_file(unread, sha256));
        kept.collect()
    }

    /// The encrypted file of that name, with its bytes.
    fn sealed<'d>(
        &self,
        file: &Path,
        all: &'d Discovered,
    ) -> Result<(&'d Unread, &'d str), Failure> {
        let names = self.names(file);
        let listed = all.passed_over.iter();
        let listed: Vec<_> = listed
            .filter(|unread| names.contains(&unread.one.file))
            .collect();
        let sealed = listed
            .iter()
            .find_map(|unread| Some((*unread, unread.one.sha256.as_deref()?)));
        sealed.ok_or_else(|| {
            let why = match listed.first() {
                Some(unread) => format!(
                    "it was passed over for what no word changes: {}",
                    unread.one.why
                ),
                None => "it is none that was passed over: it was read, or is not there".to_owned(),
            };
            Failure {
                what: format!("cannot dismiss {}", file.display()),
                why,
                fix: "list what is encrypted, and links, and name one as it stands there:\nguard discover"
                    .into(),
            }
        })
    }

    fn dismiss_file(&self, unread: &Unread, sha256: &str) -> Result<DismissedFileNow, CliError> {
        let file = unread.one.file.as_str();
        let dir = if file.starts_with("~/") {
            None
        } else {
            Some(self.project(file)?)
        };
        let said = |dismissed, kept| DismissedFileNow {
            unread: Unread::with(unread.one.clone(), dismissed),
            kept,
        };
        let key = self.dismissals.key(file);
        let sealed = SealedFile { file: &key, sha256 };
        let kept = self.dismissals.keep_file(self.socket, sealed, dir, false)?;
        if let Some(dismissed) = kept {
            return Ok(said(dismissed, "guardd keeps that".to_owned()));
        }
        let own = self.file(file)?;
        let dismissed = Dismissals::add_file(own.clone(), sealed, dir)?;
        let kept = format!(
            "in {}, until a guardd runs, which is told again",
            own.display()
        );
        Ok(said(Some(dismissed), kept))
    }

    /// Has each be what it is, whatever is in it by now.
    pub(super) fn withdrawn_files(
        &self,
        which: &[PathBuf],
    ) -> Result<Vec<WithdrawnFile>, CliError> {
        which.iter().map(|file| self.withdraw_file(file)).collect()
    }

    fn withdraw_file(&self, file: &Path) -> Result<WithdrawnFile, CliError> {
        let said = self.names(file).into_iter().map(|name| {
            let said = self.dismissals.said_of_file(&name);
            (name, said)
        });
        let mut said = said.filter(|(_, said)| !said.is_empty());
        let (file, said) = said.next().ok_or_else(|| Failure {
            what: format!("nothing is withdrawn of {}", file.display()),
            why: "it is not dismissed".into(),
            fix: "list what is:\nguard discover".into(),
        })?;
        for one in &said {
            let sealed = SealedFile {
                file: &one.file,
                sha256: &one.sha256,
            };
            let dir = one.dir.as_deref();
            self.dismissals.keep_file(self.socket, sealed, dir, true)?;
        }
        if let Some(own) = self.person.dismissals() {
            Dismissals::remove_files(own, &said)?;
        }
        let withdrawn = said.into_iter().map(|one| one.sha256).collect();
        Ok(WithdrawnFile { file, withdrawn })
    }

    /// What the list may call a file: as it is typed there, or by where it is.
    fn names(&self, file: &Path) -> Vec<String> {
        let mut names = vec![file.to_string_lossy().into_owned()];
        let whole = file.parent().and_then(|dir| {
            if dir.as_os_str().is_empty() {
                Path::new(".").canonicalize().ok()
            } else {
                dir.canonicalize().ok()
            }
        });
        let Some(whole) = whole
            .zip(file.file_name())
            .map(|(dir, name)| dir.join(name))
        else {
            return names;
        };
        let trees = [(Some(self.dir), ""), (self.person.home(), "~/")];
        for (tree, prefix) in trees {
            let tree = tree.and_then(|tree| tree.canonicalize().ok());
            if let Some(below) =
                tree.and_then(|tree| whole.strip_prefix(tree).ok().map(Path::to_owned))
            {
                names.push(format!("{prefix}{}", below.to_string_lossy()));
            }
        }
        names
    }
}

pub(super) fn dismissed_page(said: &DismissedFileNow, _clock: &Clock) -> Page {
    let mut page = Page::default();
    let DismissedFileNow { unread, kept } = said;
    if let Some(DismissedSeal { when, says }) = &unread.dismissed {
        page.text("Dismissed: ")
            .styled(STRONG, &unread.one.file)
            .line(format_args!(
                " ({}): {says}{}, says {}; {kept}.",
                unread.one.why,
                match &when.dir {
                    Some(dir) => format!(" in {dir}"),
                    None => String::new(),
                },
                when.by
            ));
        page.line(match unread.one.why {
            LINK => "Where it leads elsewhere it is passed over again.",
            _ => "With other bytes it is passed over again.",
        });
    }
    page
}

pub(super) fn withdrawn_page(one: &WithdrawnFile, _clock: &Clock) -> Page {
    let mut page = Page::default();
    page.text("Not dismissed any more: ")
        .styled(STRONG, &one.file)
        .line(" counts as passed over.");
    page
}
