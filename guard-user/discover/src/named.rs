//! Files that variables name, wherever they are: they are read as those at the usual places.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use crate::discovery::{ENVIRONMENT, Inputs, in_dir, read};
use crate::dsn::is_placeholder;
use crate::open::Tree;
use crate::readers::{Format, HOME_ENDINGS, Named, Names, Sink, dirs_of_home, lies_in, of_home};

/// Such files, each of which is read once.
#[derive(Debug)]
pub(crate) struct Places<'t> {
    trees: Trees<'t>,
    known: BTreeSet<(PathBuf, PathBuf)>,
}

/// Where they may be.
#[derive(Debug)]
struct Trees<'t> {
    home: Option<Tree>,
    /// The home's whole path, without links.
    home_at: PathBuf,
    project: &'t Tree,
    /// The project's whole path, as far as it is known.
    at: PathBuf,
    /// All else, for what the person's own variables say.
    machine: Option<Tree>,
}

/// How many files were read, of the project and elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) project: usize,
    pub(crate) home: usize,
}

impl<'t> Places<'t> {
    pub(crate) fn of(inputs: &Inputs<'_>, project: &'t Tree) -> Self {
        let home = inputs.home.map(|home| Tree::home(home, inputs.uid));
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let trees = Trees {
            home: home.and_then(Result::ok),
            home_at: inputs.home.map(whole).unwrap_or_default(),
            project,
            at: whole(inputs.project),
            machine: Tree::machine(inputs.uid).ok(),
        };
        Self {
            trees,
            known: BTreeSet::new(),
        }
    }

    /// Reads what variables have named by now, and what those files name.
    pub(crate) fn read(&mut self, sink: &mut Sink, deadline: Option<Instant>) -> Count {
        let mut count = Count::default();
        loop {
            let all = std::mem::take(&mut sink.named);
            if all.is_empty() {
                return count;
            }
            for one in all {
                self.read_one(sink, &one, deadline, &mut count);
            }
        }
    }

    fn read_one(
        &mut self,
        sink: &mut Sink,
        one: &Named,
        deadline: Option<Instant>,
        count: &mut Count,
    ) {
        sink.begin(one.file.clone());
        let found = match self.trees.find(one) {
            Ok(found) => found,
            Err(Elsewhere::Unreadable) => {
                return sink.pass_over(one.line, "a file that is not followed");
            }
            // The author of the project's files does not say what else of the machine is opened.
            Err(Elsewhere::Outside) => {
                return sink.key(
                    "a file outside of the home and the project",
                    one.line,
                    &one.key,
                );
            }
        };
        let Some((tree, path)) = found else { return };
        let mut files = files(sink, tree, &path, one.names);
        let is_project = std::ptr::eq(tree, self.trees.project);
        files.retain(|(file, format)| {
            let is_read = if is_project {
                self.trees.is_read(file, *format)
            } else {
                tree.prefix == "~/" && is_usual(file)
            };
            // What this user may not read elsewhere is in no reach of theirs.
            let is_kept = tree.prefix == "/" && tree.keeps(file);
            !is_read && !is_kept && self.known.insert((tree.path.clone(), file.clone()))
        });
        // Wherever it lies, a project's word for it makes it the project's.
        sink.is_projects = is_project || one.by_project;
        let files = read(sink, tree, &files, deadline);
        if is_project {
            count.project += files
        } else {
            count.home += files
        }
    }
}

impl Trees<'_> {
    /// The tree that a path is in, and where in it; nothing for what is no path yet.
    fn find(&self, one: &Named) -> Result<Option<(&Tree, PathBuf)>, Elsewhere> {
        let is_homes = one.file == ENVIRONMENT || one.file.starts_with("~/");
        let Some(path) = self.whole(&one.path)? else {
            return Ok(None);
        };
        if !path.is_absolute() {
            let dir = Path::new(&one.file).parent().filter(|_| !is_homes);
            let beside = dir.map(|dir| within(&dir.join(&path))).transpose()?;
            let beside = beside.filter(|path| self.project.has(path));
            return Ok(Some((
                self.project,
                beside.map_or_else(|| within(&path), Ok)?,
            )));
        }
        // A project may lie in the home: what is below both is the project's.
        if let Ok(below) = path.strip_prefix(&self.at) {
            return Ok(Some((self.project, steps(below)?)));
        }
        if let (Some(home), Ok(below)) = (&self.home, path.strip_prefix(&self.home_at)) {
            return Ok(Some((home, steps(below)?)));
        }
        let is_persons = is_homes && !one.by_project;
        let machine = self.machine.as_ref().filter(|_| is_persons);
        let machine = machine.ok_or(Elsewhere::Outside)?;
        let below = path.strip_prefix("/").unwrap_or(&path);
        Ok(Some((machine, steps(below)?)))
    }

    /// The path with the home in the place of what stands for it; nothing for what is no path yet.
    fn whole(&self, path: &str) -> Result<Option<PathBuf>, Elsewhere> {
        let words = ["~/", "$HOME/", "${HOME}/"];
        let below = words.iter().find_map(|home| path.strip_prefix(home));
        if below.is_none() && is_placeholder(path) {
            return Ok(None);
        }
        // The home may have another name by a link.
        let home = self.home.as_ref();
        let named = home.and_then(|home| Path::new(path).strip_prefix(&home.path).ok());
        match (below.map(Path::new), named) {
            (Some(_), _) if home.is_none() => Err(Elsewhere::Outside),
            // What climbs out of it is no longer below it.
            (Some(below), _) | (None, Some(below)) => Ok(Some(self.home_at.join(steps(below)?))),
            (None, None) => Ok(Some(PathBuf::from(path))),
        }
    }

    /// Whether a file of the project is read anyway: as one of the project's, or of the home that the project is, or lies in.
    fn is_read(&self, file: &Path, format: Format) -> bool {
        let whole = self.at.join(file);
        let of_home = whole.strip_prefix(&self.home_at);
        Format::of(&self.project.path.join(file)) == Some(format)
            || (self.home.is_some() && of_home.is_ok_and(is_usual))
    }
}

/// Whether a file of the home is read anyway.
fn is_usual(file: &Path) -> bool {
    let is_in = |(dir, inner, _): (&str, &str, Format)| lies_in(file, dir, inner);
    let ends_so = |(dir, ending, _): &(&str, &str, Format)| {
        let name = file.file_name().map(OsStr::as_encoded_bytes);
        file.parent() == Some(Path::new(dir))
            && name.is_some_and(|name| name.ends_with(ending.as_bytes()))
    };
    of_home().any(|(own, _)| own == file)
        || dirs_of_home().any(is_in)
        || HOME_ENDINGS.iter().any(ends_so)
}

/// Why a path is in none of them.
enum Elsewhere {
    Outside,
    Unreadable,
}

/// A path without the steps up that it takes back.
fn within(path: &Path) -> Result<PathBuf, Elsewhere> {
    let mut steps = PathBuf::new();
    for step in path.components() {
        match step {
            Component::Normal(step) => steps.push(step),
            Component::CurDir => {}
            Component::ParentDir if steps.pop() => {}
            _ => return Err(Elsewhere::Outside),
        }
    }
    Ok(steps)
}

/// A path that leads down only.
fn steps(path: impl AsRef<Path>) -> Result<PathBuf, Elsewhere> {
    let mut steps = PathBuf::new();
    for step in path.as_ref().components() {
        match step {
            Component::Normal(step) => steps.push(step),
            Component::CurDir => {}
            _ => return Err(Elsewhere::Unreadable),
        }
    }
    Ok(steps)
}

/// The files there, each with its format.
fn files(sink: &mut Sink, tree: &Tree, path: &Path, names: Names) -> Vec<(PathBuf, Format)> {
    let usual = match names {
        Names::File(format) | Names::Files(format) => return vec![(path.to_owned(), format)],
        Names::Dir(usual) => Path::new(usual),
    };
    let mut files: Vec<_> = of_home()
        .filter_map(|(file, format)| Some((path.join(file.strip_prefix(usual).ok()?), format)))
        .collect();
    for (dir, inner, format) in dirs_of_home() {
        if let Ok(below) = Path::new(dir).strip_prefix(usual) {
            files.extend(in_dir(sink, tree, &path.join(below), inner, format));
        }
    }
    files
}
