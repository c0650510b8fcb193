//! Paths of PEM files become their content: certificates, keys, authorities, revocation lists. Unlike other files, these
//! are not the configuration's own: a new certificate is no new configuration.

use std::path::Path;

use narthex_document::{Diagnostic, Node, Origin, Value};

use crate::load::{Loader, normal};

/// The largest file of PEM.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Reads every file that is named where PEM belongs; relative paths start at `base`.
pub(crate) fn read(node: &mut Node, base: &Path, loader: &mut Loader<'_>) {
    each(node, "listeners", |listener| {
        if let Some(Value::List(certificates)) = value(listener, "certificates") {
            for certificate in certificates {
                named(certificate, &["cert", "key"], base, loader);
            }
        }
        if let Some(tls) = child(listener, "tls") {
            if let Some(keys) = child(tls, "ticket_keys") {
                read_one(keys, base, loader, false);
            }
            each(tls, "clients", |client| named(client, &["ca", "crl"], base, loader));
        }
    });
    each(node, "services", |service| {
        if let Some(tls) = child(service, "tls") {
            named(tls, &["ca", "crl", "cert", "key"], base, loader);
        }
    });
}

fn child<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|(known, _)| known.text == key).map(|(_, node)| node)
}

fn value<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Value> {
    child(node, key).map(|node| &mut node.value)
}

fn each(node: &mut Node, key: &str, mut visit: impl FnMut(&mut Node)) {
    if let Some(Value::Map(entries)) = value(node, key) {
        entries.iter_mut().for_each(|(_, node)| visit(node));
    }
}

fn named(node: &mut Node, keys: &[&str], base: &Path, loader: &mut Loader<'_>) {
    for key in keys {
        if let Some(node) = child(node, key) {
            read_one(node, base, loader, true);
        }
    }
}

/// `{ file: F }`, or with `paths` a text that is no PEM.
fn read_one(node: &mut Node, base: &Path, loader: &mut Loader<'_>, paths: bool) {
    let path = match (&node.value, node.entries()) {
        (Value::Text(text), _) if paths && !text.contains("-----BEGIN") => text,
        (_, [(key, Node { value: Value::Text(path), .. })]) if key.text == "file" => path,
        _ => return,
    };
    let path = normal(&base.join(path));
    loader.pems.push(path.clone());
    let found = match (loader.options.read)(&path) {
        Ok(text) if text.len() > MAX_BYTES => Err("it is larger than 8 MiB".to_owned()),
        Ok(text) => loader.spend(text.len()).map(|()| text),
        Err(error) => Err(error.to_string()),
    };
    let text = found.unwrap_or_else(|cause| {
        let message = format!("cannot read {}: {cause}", path.display());
        let help = "the path is relative to the file that names it, and the file is PEM";
        loader.problems.push(Diagnostic::error("missing_file", node.span, message).with_help(help));
        loader.failed.insert(node.span);
        String::new()
    });
    node.value = Value::Text(text);
    node.origin = Origin::File(path.display().to_string().into());
}
