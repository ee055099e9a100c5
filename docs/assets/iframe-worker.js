/* Browsers start no worker from a file. Where these pages are opened from the disk, their search runs in a hidden frame. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const { contentWindow: scope, contentDocument: page } = this.frame
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      this.ready = new Promise((resolve, reject) => {
        const script = page.createElement("script")
        script.onload = () => resolve(scope)
        script.onerror = reject
        script.src = url
        page.head.append(script)
      })
    }

    postMessage(data) {
      this.ready.then((scope) => scope.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
