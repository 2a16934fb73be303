//! The layers of a configuration, from which a key that cannot be used can be taken out again: the next fault is found behind it.

use figment::{
    Error, Figment, Metadata, Profile, Provider,
    error::Kind,
    value::{Dict, Map, Value},
};

/// What one layer has.
struct Layer {
    metadata: Metadata,
    data: Result<Map<Profile, Dict>, Error>,
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        self.data.clone()
    }
}

/// Layers; a later one goes before an earlier one.
#[derive(Default)]
pub(super) struct Layers(Vec<Layer>);

impl Layers {
    pub(super) fn push(&mut self, layer: impl Provider) {
        self.0.push(Layer {
            metadata: layer.metadata(),
            data: layer.data(),
        });
    }

    pub(super) fn merged(&self) -> Figment {
        self.0.iter().fold(Figment::new(), Figment::merge)
    }

    /// Takes the key out that an error is about. False where there is none that could be: the error is of a layer as a whole, of
    /// a list's item, or of what is not there.
    pub(super) fn take_out(&mut self, error: &Error) -> bool {
        let mut path: Vec<&str> = error.path.iter().map(String::as_str).collect();
        match &error.kind {
            Kind::MissingField(_) => return false,
            Kind::UnknownField(field, _) if path.last() != Some(&field.as_str()) => path.push(field),
            _ => {}
        }
        let trees = self
            .0
            .iter_mut()
            .rev()
            .filter_map(|layer| layer.data.as_mut().ok());
        trees
            .flat_map(|profiles| profiles.values_mut())
            .any(|tree| remove(tree, &path))
    }
}

fn remove(tree: &mut Dict, path: &[&str]) -> bool {
    match path {
        [] => false,
        [key] => tree.remove(*key).is_some(),
        [key, rest @ ..] => tree.get_mut(*key).is_some_and(|value| remove_below(value, rest)),
    }
}

fn remove_below(value: &mut Value, path: &[&str]) -> bool {
    match (value, path) {
        (Value::Dict(_, tree), path) => remove(tree, path),
        (Value::Array(_, items), [index, rest @ ..]) => {
            let item = index.parse().ok().and_then(|index: usize| items.get_mut(index));
            item.is_some_and(|item| remove_below(item, rest))
        }
        _ => false,
    }
}
