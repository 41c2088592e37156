// Snakemake's report opens on the graph of its rules; this one on the figures and their captions.
(function open() {
    if (typeof app === "undefined" || !app || !app.updater.isMounted(app)) {
        setTimeout(open, 50);
        return;
    }
    const shown = Object.keys(results)
        .filter((path) => results[path].mime_type.startsWith("image/"))
        .sort()
        .map((path) => `<figure><img src="${results[path].data_uri}"><figcaption>` +
            `${results[path].caption || ""}</figcaption></figure>`);
    const page = `<!doctype html><meta charset="utf-8"><style>
        body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
        figure { margin: 3em 0 } img { max-width: 100%; max-height: 90vh }
        </style>${workflow_desc}${shown.join("")}`;
    const url = URL.createObjectURL(new Blob([page], { type: "text/html" }));
    app.setView({ content: "html", contentPath: url });
    document.body.dataset.ready = "1";
})();
