// What is on screen: only there are videos decoded, and no more than a browser can.

const MAX_VIDEOS = 36;

// What is only scrolled past starts no decoder.
const CALM_MS = 120;

class Screen {
  #clips = new Map();
  #visible = new Set();
  #videos = new Map();
  #waiting = false;
  #calm = 0;

  constructor(playback) {
    this.playback = playback;
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) this.#visible.add(target);
        else {
          this.#visible.delete(target);
          this.#stop(target);
        }
      }
      clearTimeout(this.#calm);
      this.#calm = setTimeout(() => this.#later(), CALM_MS);
    });
    playback.addEventListener("change", () => this.#later());
  }

  // Show a clip in an element that holds its poster.
  watch(host, clip) {
    if (clip.image) return;
    this.#clips.set(host, clip);
    this.observer.observe(host);
  }

  unwatch(root) {
    for (const host of [...this.#clips.keys()]) {
      if (!root.contains(host)) continue;
      this.observer.unobserve(host);
      this.#visible.delete(host);
      this.#clips.delete(host);
      this.#stop(host);
    }
  }

  #later() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#update();
    });
  }

  #update() {
    const wanted = new Set(this.playback.moved ? inOrder(this.#visible).slice(0, MAX_VIDEOS) : []);
    for (const host of [...this.#videos.keys()]) if (!wanted.has(host)) this.#stop(host);
    for (const host of wanted) if (!this.#videos.has(host)) this.#start(host);
    document.body.dataset.beyond = Math.max(0, this.#visible.size - MAX_VIDEOS);
  }

  #start(host) {
    const clip = this.#clips.get(host);
    const video = element("video", { preload: "auto", tabindex: "-1", "aria-hidden": "true", playsinline: true });
    video.muted = true;
    video.disablePictureInPicture = true;
    video.addEventListener("seeked", () => video.classList.add("ready"));
    video.addEventListener("playing", () => video.classList.add("ready"));
    video.addEventListener("error", () => host.classList.add("broken"));
    this.#videos.set(host, video);
    this.playback.add(video, clip);
    host.append(video);
    video.src = clip.src;
  }

  #stop(host) {
    const video = this.#videos.get(host);
    if (!video) return;
    this.#videos.delete(host);
    this.playback.remove(video);
    video.pause();
    // A removed element would keep its decoder for a while.
    video.removeAttribute("src");
    video.load();
    video.remove();
  }
}

const inOrder = (hosts) =>
  [...hosts].sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
