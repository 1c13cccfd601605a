//! `orlop image`: images for the nodes of a running cluster, while there is no registry.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;

use crate::up::folder;
use crate::up::nodes::{containerd, static_busybox};

/// `orlop image`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ImageCommand {
    /// Give an image to every node of a running cluster
    ///
    /// Takes tar archives in OCI or docker format, as `docker save` writes them. Name the image in
    /// a pod as the archive names it; one tagged `latest` needs `imagePullPolicy: IfNotPresent`.
    Import {
        /// The archive
        file: PathBuf,
        #[command(flatten)]
        dir: crate::Dir,
    },
    /// Make an image of this machine's static busybox, to try things with
    Busybox {
        /// Where to write the archive
        out: PathBuf,
        /// The image's name. A tag other than `latest` is not looked for in a registry first
        #[arg(long, default_value = "docker.io/library/busybox:local", value_name = "IMAGE")]
        name: String,
    },
}

pub(crate) async fn run(command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Import { file, dir } => import(file, &dir).await,
        ImageCommand::Busybox { out, name } => {
            let busybox = static_busybox()?;
            let (image, path) = (name.clone(), out.clone());
            tokio::task::spawn_blocking(move || {
                node_agent::containerd::busybox_image_tar(&busybox, &image, &path)
            })
            .await
            .context("making the image broke")??;
            writeln!(std::io::stdout(), "wrote {name} to {}", out.display())?;
            Ok(())
        }
    }
}

async fn import(file: PathBuf, dir: &crate::Dir) -> anyhow::Result<()> {
    if !file.is_file() {
        bail!("{} is not a file: name a tar archive of an image", file.display());
    }
    let layout = folder::find(&dir.dir)?;
    let nodes = layout.nodes();
    if nodes.is_empty() {
        bail!("this cluster has no nodes to give an image to: start it with --nodes 1");
    }
    for node in nodes {
        let socket = containerd(&layout, &node).socket();
        if tokio::net::UnixStream::connect(&socket).await.is_err() {
            bail!(
                "{} has no containerd that answers: is the cluster up, and not on the fake \
                 runtime? See `orlop status --dir {}`",
                node.name,
                layout.dir.display()
            );
        }
        let names = node_agent::containerd::import_image(&socket, &file)
            .await
            .with_context(|| format!("{} did not take the image", node.name))?;
        writeln!(std::io::stdout(), "{}: {}", node.name, names.join(", "))?;
    }
    Ok(())
}
