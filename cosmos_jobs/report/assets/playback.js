// One clock for all videos. It counts frames, not seconds: models pair their input's frames with
// the output's by number, also where the two have different frames per second.

const SPEEDS = [0.1, 0.25, 0.5, 1, 2];

class Playback extends EventTarget {
  frame = 0;
  playing = false;
  // Until something is played or scrubbed, posters are enough.
  moved = false;
  loop = true;
  speed = 1;
  #videos = new Map();
  #last = 0;

  constructor(clips) {
    super();
    const rates = clips.map((clip) => clip.fps);
    this.frames = Math.max(1, ...clips.map((clip) => clip.frames));
    this.fps = rates.sort((a, b) => count(rates, b) - count(rates, a))[0] ?? 24;
  }

  add(video, clip) {
    this.#videos.set(video, clip);
    video.addEventListener("loadedmetadata", () => this.#place(video, clip), { once: true });
  }

  remove(video) {
    this.#videos.delete(video);
  }

  play() {
    if (this.playing) return;
    if (this.frame >= this.frames - 1) this.frame = 0;
    this.playing = this.moved = true;
    this.#last = performance.now();
    this.#tell();
    requestAnimationFrame(this.#tick);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.seek(Math.floor(this.frame));
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  step(frames) {
    this.pause();
    const next = Math.floor(this.frame) + frames;
    this.seek(this.loop ? (next + this.frames) % this.frames : next);
  }

  seek(frame) {
    this.frame = Math.min(Math.max(0, frame), this.frames - 1);
    this.moved = true;
    for (const [video, clip] of this.#videos) this.#place(video, clip);
    this.#tell();
  }

  set(name, value) {
    this[name] = value;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  #tick = (now) => {
    if (!this.playing) return;
    // After a pause of the page, as in another tab, it goes on where it was.
    const passed = Math.min(now - this.#last, 250) / 1000;
    this.#last = now;
    this.frame += passed * this.fps * this.speed;
    if (this.frame >= this.frames) {
      if (!this.loop) {
        this.frame = this.frames - 1;
        return this.pause();
      }
      this.frame %= this.frames;
    }
    for (const [video, clip] of this.#videos) this.#follow(video, clip);
    this.dispatchEvent(new Event("time"));
    requestAnimationFrame(this.#tick);
  };

  // Put a video that stands on its frame: into the middle of it, so that no rounding shows another.
  #place(video, clip) {
    if (this.playing) return;
    video.pause();
    const time = (Math.min(Math.floor(this.frame), clip.frames - 1) + 0.5) / clip.fps;
    if (Math.abs(video.currentTime - time) > 0.1 / clip.fps) video.currentTime = time;
  }

  // Keep a video that runs with the clock: a little faster or slower, or by a jump.
  #follow(video, clip) {
    if (video.readyState < 2 || video.seeking) return;
    const wanted = Math.min(this.frame, clip.frames - 0.5);
    if (this.frame >= clip.frames - 0.5) {
      if (!video.paused) video.pause();
      return;
    }
    const drift = video.currentTime * clip.fps - wanted;
    const rate = (this.fps * this.speed) / clip.fps;
    if (Math.abs(drift) > 3) video.currentTime = wanted / clip.fps;
    const correction = Math.abs(drift) < 0.1 ? 1 : Math.min(1.5, Math.max(0.5, 1 - 0.3 * drift));
    const next = Math.min(16, Math.max(0.0625, rate * correction));
    if (Math.abs(video.playbackRate - next) > 0.01) video.playbackRate = next;
    if (video.paused) video.play().catch(() => {});
  }
}

const count = (values, value) => values.filter((each) => each === value).length;
