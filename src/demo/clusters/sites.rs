//! The infrastructures of the demonstration: a name, a cluster, and a namespace of its own there.

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use manifold_model::{Problem, code};

use super::kubeconfig::{self, Access};

/// Clusters in one demonstration.
const CLUSTERS: usize = 16;
/// Infrastructures on a cluster that is the only one: a fan-out needs two.
const ALONE: usize = 2;
/// Letters of a context's name that a name keeps.
const NAME: usize = 40;

/// A cluster.
pub struct Cluster {
    /// Its name, which its cloud provider has too.
    pub name: String,
    /// The way to it.
    pub access: Access,
}

impl Cluster {
    /// How a person begins a command for it.
    pub fn kubectl(&self) -> String {
        let (file, context) = (self.access.file.to_string_lossy(), &self.access.context);
        format!("kubectl --kubeconfig {} --context {}", quoted(&file), quoted(context))
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/:@".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An infrastructure.
pub struct Site {
    /// Its name, unlike all others.
    pub name: String,
    /// Its namespace, which nobody else has.
    pub namespace: String,
    /// Which of the clusters it is on.
    pub cluster: usize,
}

/// The clusters that the kubeconfigs name, and the infrastructures on them.
///
/// # Errors
/// A kubeconfig is refused, or there are too many.
pub fn read(kubeconfigs: &[String]) -> Result<(Vec<Cluster>, Vec<Site>)> {
    if kubeconfigs.len() > CLUSTERS {
        let message = format!("{} kubeconfigs are given", kubeconfigs.len());
        let problem = Problem::new(code!("KUBECONFIG_INVALID"), message);
        return Err(problem.hint(format!("give at most {CLUSTERS}")).into());
    }
    let mut read = Vec::new();
    for argument in kubeconfigs {
        read.push(kubeconfig::read(argument).map_err(|problem| *problem)?);
    }
    let contexts: Vec<&str> = read.iter().map(|access| access.context.as_str()).collect();
    let names = unique(&contexts);
    let sites = sites(&names)?;
    let clusters = names.into_iter().zip(read).map(|(name, access)| Cluster { name, access }).collect();
    Ok((clusters, sites))
}

fn sites(clusters: &[String]) -> Result<Vec<Site>> {
    let places: Vec<usize> = match clusters.len() {
        1 => vec![0; ALONE],
        several => (0..several).collect(),
    };
    let names: Vec<&str> =
        places.iter().filter_map(|place| clusters.get(*place)).map(String::as_str).collect();
    let made =
        |(name, cluster)| Ok(Site { name, namespace: format!("manifold-demo-{}", random()?), cluster });
    unique(&names).into_iter().zip(places).map(made).collect()
}

/// Names of lower-case letters, digits and dashes like these, the second of two that look alike with a number behind it.
fn unique(wanted: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for wanted in wanted {
        let plain = plain(wanted);
        let mut name = plain.clone();
        let mut number = 1;
        while names.contains(&name) {
            number += 1;
            name = format!("{plain}-{number}");
        }
        names.push(name);
    }
    names
}

fn plain(text: &str) -> String {
    let letters = text.chars().map(|letter| letter.to_ascii_lowercase());
    let letters = letters.map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    // The end of a long name tells more than its beginning: `arn:…:cluster/shop`.
    let letters: Vec<char> = letters.collect();
    let kept = letters.len().saturating_sub(NAME);
    let kept: String = letters.into_iter().skip(kept).collect();
    let words: Vec<&str> = kept.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "cluster".to_owned() } else { words.join("-") }
}

/// Ten letters and digits that nobody else draws.
///
/// # Errors
/// The system has no randomness.
pub fn random() -> Result<String> {
    let mut bytes = [0_u8; 5];
    aws_lc_rs::rand::fill(&mut bytes).context("draw a random name")?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn names_are_plain_and_unlike_each_other() {
        let wanted = [
            "Kubernetes-Admin@kubernetes",
            "a",
            "a",
            "a-2",
            "A",
            "§",
            "arn:aws:eks:eu-west-1:1:cluster/shop",
        ];
        let expected = [
            "kubernetes-admin-kubernetes",
            "a",
            "a-2",
            "a-2-2",
            "a-3",
            "cluster",
            "arn-aws-eks-eu-west-1-1-cluster-shop",
        ];
        assert_eq!(unique(&wanted), expected);
        assert_eq!(plain(&format!("x{}", "é".repeat(50))), "cluster");
        assert_eq!(plain(&format!("gke_{}_shop", "project".repeat(9))).len(), NAME);
    }

    #[test]
    fn words_are_quoted_when_a_shell_would_change_them() {
        let words = ["/home/me/.kube/config", "my config", "it's", ""];
        assert_eq!(words.map(quoted), ["/home/me/.kube/config", "'my config'", r"'it'\''s'", "''"]);
    }

    #[test]
    fn one_cluster_has_two_infrastructures_and_several_have_one_each() {
        let names = |clusters: &[&str]| {
            let clusters: Vec<String> = clusters.iter().map(|name| (*name).to_owned()).collect();
            let sites = sites(&clusters).unwrap();
            sites.into_iter().map(|site| (site.name, site.cluster)).collect::<Vec<_>>()
        };
        assert_eq!(names(&["eu"]), [("eu".to_owned(), 0), ("eu-2".to_owned(), 0)]);
        assert_eq!(names(&["eu", "us"]), [("eu".to_owned(), 0), ("us".to_owned(), 1)]);
        let two = sites(&["eu".to_owned()]).unwrap();
        assert_ne!(two[0].namespace, two[1].namespace);
        assert!(two[0].namespace.starts_with("manifold-demo-") && two[0].namespace.len() == 24);
    }
}
