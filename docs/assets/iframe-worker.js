// Search without a server. Browsers refuse a Worker on file://, so there the search runs in a hidden frame:
// messages to the worker become messages to the frame, and its answers come back the same way.
if (location.protocol === "file:") {
  class IFrameWorker extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = `<script>
        const post = window.postMessage.bind(window);
        window.receive = (data) => post(data, "*");
        window.postMessage = (data) => parent.postMessage({ searchWorker: data }, "*");
        window.addEventListener("message", (event) => event.data.searchWorker && event.stopImmediatePropagation());
      </script><script src="${new URL(url, document.baseURI)}"></script>`;
      this.ready = new Promise((resolve) => frame.addEventListener("load", () => resolve(frame.contentWindow)));
      window.addEventListener("message", (event) => {
        if (event.source === frame.contentWindow && event.data.searchWorker) {
          this.dispatchEvent(new MessageEvent("message", { data: event.data.searchWorker }));
        }
      });
      document.body.appendChild(frame);
    }
    postMessage(data) {
      this.ready.then((worker) => worker.receive(data));
    }
    terminate() {}
  }
  window.IFrameWorker = window.Worker = IFrameWorker;
}
